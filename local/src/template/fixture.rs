//! A small template for tests.

use super::{Template, TemplateOptions};

pub(crate) const TEXT: &str = r#"
Parameters:
  Prefix: {Type: String, Default: "things:"}
  Limit: {Type: Number, Default: 12}
  Issuer: {Type: String, Default: https://issuer.test}
  Audience: {Type: CommaDelimitedList, Default: "things, others"}
Globals:
  Function:
    Timeout: 10
    Environment: {Variables: {EVENTS_TABLE: !Ref Events, LIMIT: !Ref Limit}}
Resources:
  Api:
    Type: AWS::Serverless::HttpApi
    Properties:
      Auth:
        DefaultAuthorizer: Jwt
        Authorizers:
          Jwt: {JwtConfiguration: {issuer: !Ref Issuer, audience: !Ref Audience}}
      CorsConfiguration: {AllowOrigins: ["https://shop.test"], AllowMethods: [GET, POST], AllowHeaders: [authorization], ExposeHeaders: [etag], MaxAge: 60}
      AccessLogSettings: {DestinationArn: !GetAtt Logs.Arn}
  Logs: {Type: AWS::Logs::LogGroup}
  Failed: {Type: AWS::S3::Bucket}
  CreateThing:
    Type: AWS::Serverless::Function
    Metadata: {BuildMethod: rust-cargolambda, BuildProperties: {Binary: create-thing}}
    Properties:
      MemorySize: "256"
      Events:
        Http:
          Type: HttpApi
          Properties:
            ApiId: !Ref Api
            Method: post
            Path: /things
            Auth: {AuthorizationScopes: [!Sub "${Prefix}write", !Sub "${Prefix}admin"]}
  GetThing:
    Type: AWS::Serverless::Function
    Metadata: {BuildMethod: rust-cargolambda, BuildProperties: {Binary: get-thing}}
    Properties:
      Events:
        Http: {Type: HttpApi, Properties: {ApiId: !Ref Api, Method: GET, Path: "/things/{id}"}}
        Parts: {Type: HttpApi, Properties: {ApiId: !Ref Api, Method: ANY, Path: "/things/{id}/parts/{rest+}"}}
        Newest: {Type: HttpApi, Properties: {ApiId: !Ref Api, Method: GET, Path: /things/newest}}
  Health:
    Type: AWS::Serverless::Function
    Metadata: {BuildMethod: rust-cargolambda, BuildProperties: {Binary: health}}
    Properties:
      Events:
        Http: {Type: HttpApi, Properties: {ApiId: !Ref Api, Method: GET, Path: /health, Auth: {Authorizer: NONE}}}
  ProjectThings:
    Type: AWS::Serverless::Function
    Metadata: {BuildMethod: rust-cargolambda, BuildProperties: {Binary: project-things}}
    Properties:
      Events:
        Stream:
          Type: DynamoDB
          Properties:
            Stream: !GetAtt Events.StreamArn
            StartingPosition: TRIM_HORIZON
            BatchSize: 10
            BisectBatchOnFunctionError: true
            MaximumRetryAttempts: 3
            ParallelizationFactor: 2
            FunctionResponseTypes: [ReportBatchItemFailures]
            DestinationConfig: {OnFailure: {Type: S3, Destination: !GetAtt Failed.Arn}}
            FilterCriteria: {Filters: [{Pattern: '{"eventName": ["INSERT"]}'}]}
  Events:
    Type: AWS::DynamoDB::Table
    Properties:
      BillingMode: PAY_PER_REQUEST
      AttributeDefinitions: [{AttributeName: stream_id, AttributeType: S}, {AttributeName: version, AttributeType: N}]
      KeySchema: [{AttributeName: stream_id, KeyType: HASH}, {AttributeName: version, KeyType: RANGE}]
      StreamSpecification: {StreamViewType: NEW_AND_OLD_IMAGES}
  Rows:
    Type: AWS::DynamoDB::Table
    Properties:
      BillingMode: PAY_PER_REQUEST
      AttributeDefinitions: [{AttributeName: id, AttributeType: S}, {AttributeName: owner, AttributeType: S}]
      KeySchema: [{AttributeName: id, KeyType: HASH}]
      GlobalSecondaryIndexes:
        - IndexName: by-owner
          KeySchema: [{AttributeName: owner, KeyType: HASH}, {AttributeName: id, KeyType: RANGE}]
          Projection: {ProjectionType: INCLUDE, NonKeyAttributes: [status]}
      TimeToLiveSpecification: {AttributeName: expires_at, Enabled: true}
"#;

pub(crate) fn template() -> Template {
    Template::parse(TEXT, &TemplateOptions::default()).unwrap()
}
